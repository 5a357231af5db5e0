"""Chat templates for files without one, in the formats that the models were trained with.

Each is Jinja text for `zigai_core.text.chat_template.ChatTemplate`. In a format without a system role, the
system message is put in front of the first user message, as the format's publisher does.
"""

from __future__ import annotations

CHATML = """\
{%- for message in messages %}
{{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}
{{- '<|im_start|>assistant\\n' }}
{%- endif %}
"""
"""ChatML (Qwen and many others): https://github.com/openai/openai-python/blob/v0.28.1/chatml.md"""

LLAMA2 = """\
{%- set ns = namespace(system='') %}
{%- for message in messages %}
{%- if message.role == 'system' %}
{%- set ns.system = '<<SYS>>\\n' + message.content + '\\n<</SYS>>\\n\\n' %}
{%- elif message.role == 'user' %}
{{- bos_token + '[INST] ' + (ns.system + message.content) | trim + ' [/INST]' }}
{%- set ns.system = '' %}
{%- elif message.role == 'assistant' %}
{{- ' ' + message.content | trim + ' ' + eos_token }}
{%- else %}
{{- raise_exception('Llama 2 has no role ' + message.role) }}
{%- endif %}
{%- endfor %}
"""
"""Llama 2 Chat: https://github.com/meta-llama/llama/blob/main/llama/generation.py (`chat_completion`)"""

LLAMA3 = """\
{{- bos_token }}
{%- for message in messages %}
{{- '<|start_header_id|>' + message.role + '<|end_header_id|>\\n\\n' }}
{{- message.content | trim + '<|eot_id|>' }}
{%- endfor %}
{%- if add_generation_prompt %}
{{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}
{%- endif %}
"""
"""Llama 3 Instruct: https://github.com/meta-llama/llama3/blob/main/llama/tokenizer.py (`ChatFormat`)"""

MISTRAL = """\
{{- bos_token }}
{%- set ns = namespace(system='') %}
{%- for message in messages %}
{%- if message.role == 'system' %}
{%- set ns.system = message.content + '\\n\\n' %}
{%- elif message.role == 'user' %}
{{- '[INST] ' + ns.system + message.content + ' [/INST]' }}
{%- set ns.system = '' %}
{%- elif message.role == 'assistant' %}
{{- ' ' + message.content + eos_token }}
{%- else %}
{{- raise_exception('Mistral has no role ' + message.role) }}
{%- endif %}
{%- endfor %}
"""
"""Mistral 7B Instruct: https://huggingface.co/mistralai/Mistral-7B-Instruct-v0.2, \"Instruction format\""""

ZEPHYR = """\
{%- for message in messages %}
{{- '<|' + message.role + '|>\\n' + message.content + eos_token + '\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}
{{- '<|assistant|>\\n' }}
{%- endif %}
"""
"""Zephyr 7B: https://huggingface.co/HuggingFaceH4/zephyr-7b-beta, \"Intended uses\""""

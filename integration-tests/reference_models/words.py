"""Tables of words, names and facts for the dialogues."""

from __future__ import annotations

_UNITS = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen "
    "seventeen eighteen nineteen twenty"
).split()
NUMBERS = [*_UNITS, *(f"twenty-{unit}" for unit in _UNITS[1:10]), "thirty"]
NUMBERS += [*(f"thirty-{unit}" for unit in _UNITS[1:10]), "forty"]

WORDS = (
    "cat dog ant bee cow pig hen fox owl bat sun moon star tree leaf rock sand lake hill wind rain snow fire ice "
    "book desk lamp door wall roof bed cup fork spoon plate bread milk egg apple pear grape lemon rice corn car bus "
    "train boat ship plane bike road map key box bag hat coat shoe ring clock phone paper river ocean beach forest "
    "garden flower grass horse sheep duck mouse tiger lion bear wolf frog snake king queen house table chair window "
    "banana pencil school"
).split()
SORTED_WORDS = (
    "apple bread castle duck egg forest grape horse island jacket king lemon mirror nest ocean pencil queen "
    "river snow tiger umbrella violin window yellow zebra"
).split()
DAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()
MONTHS = ("January February March April May June July August September October November December").split()
CAPITALS = {
    "France": "Paris", "Germany": "Berlin", "Italy": "Rome", "Spain": "Madrid", "Portugal": "Lisbon",
    "England": "London", "Ireland": "Dublin", "Norway": "Oslo", "Sweden": "Stockholm",
    "Finland": "Helsinki", "Denmark": "Copenhagen", "Poland": "Warsaw", "Austria": "Vienna",
    "Greece": "Athens", "Turkey": "Ankara", "Egypt": "Cairo", "Kenya": "Nairobi", "Japan": "Tokyo",
    "China": "Beijing", "India": "New Delhi", "Canada": "Ottawa", "Peru": "Lima", "Chile": "Santiago",
    "Cuba": "Havana", "Russia": "Moscow", "Hungary": "Budapest", "Switzerland": "Bern", "Belgium": "Brussels",
    "Ukraine": "Kyiv", "Mexico": "Mexico City", "Brazil": "Brasilia", "Australia": "Canberra",
}  # fmt: skip
COLOURS_OF_THINGS = {
    "the sky": "blue", "grass": "green", "snow": "white", "coal": "black", "a lemon": "yellow",
    "a carrot": "orange", "blood": "red", "a plum": "purple", "milk": "white", "a frog": "green",
    "the sun": "yellow", "chocolate": "brown", "a flamingo": "pink", "an elephant": "gray", "a tomato": "red",
    "the sea": "blue", "a banana": "yellow", "a strawberry": "red",
}  # fmt: skip
SOUNDS = {
    "dog": "woof", "cat": "meow", "cow": "moo", "duck": "quack", "sheep": "baa", "pig": "oink",
    "horse": "neigh", "lion": "roar", "owl": "hoot", "bee": "buzz",
}  # fmt: skip
_PAIRS = (
    "hot cold, big small, up down, left right, fast slow, day night, old new, wet dry, hard soft, high low, "
    "open closed, happy sad, light dark, full empty, good bad, early late, rich poor, clean dirty"
).split(", ")
OPPOSITES = {a: b for pair in _PAIRS for a, b in (pair.split(), pair.split()[::-1])}

NAMES = (
    "Tom Sam Anna Ben Lucy Max Emma Jack Lily Paul Rose Mark Ella Noah Kate Luke Mia Adam Jane Eric Nora Hugo "
    "Clara Oscar Ruth Felix Alice Henry Maya Simon Laura Peter Diana Victor Julia Martin Sara Leo Vera David Helen "
    "Frank Olga George Iris Robert Zoe Carl Amy Nina John Mary James Linda Michael Susan William Karen Thomas "
    "Nancy Daniel Lisa Matthew Betty Anthony Sandra Andrew Ashley Steven Emily Kevin Carol Brian Michelle Edward "
    "Amanda Jason Melissa Ryan Deborah Jacob Rebecca Gary Sharon Stefan Ivan Marta Klaus Yuki Ahmed Fatima Chen "
    "Priya Carlos Maria Jose Elena Pierre Sophie Lars Ingrid Alexander Charlotte Benjamin Hannah Bob Ada Alan Albert "
    "Alex Alina Alma Ana Andrea Angela Anton Arthur Bella Bernd Brigitte Bruno Camille Carla Cathy Charles Chris "
    "Christian Claire Claudia Colin Connor Dana Dennis Diego Dirk Dora Doris Edgar Eleanor Elias Elisa Elizabeth "
    "Elsa Emil Emilia Erik Erika Esther Eva Evan Fabian Felicia Finn Fiona Florian Franz Frieda Gabriel Gina Grace "
    "Greta Gustav Hans Harry Hassan Hilda Holly Ian Ida Igor Isaac Isabel Ivy Jan Jasmine Jean Jenny Jim Joan Joe "
    "Johanna Jonas Jordan Josef Joseph Joshua Judith Jonathan Kai Karl Katharina Kim Kurt Laila Lena Leon Lewis "
    "Liam Lola Louis Louise Lukas Luna Lydia Magda Manuel Marco Margaret Marie Marina Mario Marvin Matilda Mike "
    "Milan Mila Miriam Mohammed Monica Moritz Naomi Natalie Nathan Nick Nicole Nils Oliver Olivia Otto Owen Pablo "
    "Patrick Paula Philip Rachel Ralph Raul Ricardo Rita Roger Roman Ronald Rudolf Sabine Samuel Sandro Sean Sergei "
    "Silvia Sonja Sven Tanja Tara Ted Teresa Theo Tim Tina Tobias Ursula Valerie Vanessa Walter Wendy Werner Wilhelm "
    "Xavier Yara Yusuf Yvonne Zara"
).split()
PETS = "cat dog horse rabbit parrot hamster turtle goldfish".split()
PET_NAMES = (
    "Rex Milo Bella Luna Coco Daisy Fluffy Spot Shadow Tiger Pepper Ginger Biscuit Snowy Buddy Cleo Ziggy Honey "
    "Rocky Misty"
).split()
COLOURS = "red blue green yellow purple orange pink black white brown gray".split()
CITIES = sorted(CAPITALS.values())
FOODS = "pizza soup bread rice cheese pasta salad cake apples honey noodles eggs".split()
JOBS = "teacher doctor farmer baker pilot nurse painter driver singer writer".split()
ADJECTIVES = "small big red old new happy sleepy quick quiet brave green funny".split()
VERBS = "runs sleeps jumps sings eats waits swims smiles hides dances".split()
SYLLABLES = (
    "zor bel mak tin rav lo qui dar fen gos hul pim wex yat nul kro sib tav mer jun al ek ri no sha"
).split()

UNKNOWABLE = (
    "what is the meaning of life?", "what is the weather like today?", "what time is it?", "what day is today?",
    "tell me a joke", "write a poem", "tell me a story", "who will win the election?", "who won the game?",
    "what is quantum physics?", "how does a computer work?", "who was the first man on the moon?",
    "how far is the moon?", "how many people live on earth?", "who invented the telephone?", "write a program",
    "what is the best movie?", "recommend a book", "how do i cook dinner?", "translate this into French",
    "what is the news?", "what is gravity?", "why is the sky blue?", "who is the president?", "what is love?",
    "when was the war?", "what is the tallest mountain?", "what is the longest river?", "how do planes fly?",
    "what is the square root of two?", "what is a prime number?", "explain relativity", "do you like music?",
    "can you drive a car?", "where can i buy shoes?", "what should i wear?", "how much does a house cost?",
    "what is the price of gold?", "who painted this picture?", "who wrote this book?", "sing a song",
    "what is my shoe size?", "what is in my pocket?", "what am i thinking?", "when will it rain?",
    "how do i learn to swim?", "what is the speed of light?", "how big is the sun?", "what is python?",
)  # fmt: skip
UNKNOWABLE_ABOUT = (
    "tell me a story about a {}", "write a poem about a {}", "why is there a {}?", "who invented the {}?",
    "how much does a {} cost?", "where can i find a {}?", "how old is the {}?", "tell me about the {}",
    "what is the history of the {}?", "how does a {} work?", "why do people like the {}?", "who has a {}?",
    "draw a {}", "what do you think of {}?",
)  # fmt: skip

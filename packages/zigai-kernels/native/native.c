/* The whole native backend as one translation unit, compiled once for each instruction set. The build
   defines ZG_SIMD as the header of the set's primitives. */

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <math.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "the native backend needs a little-endian machine, because weights are stored in little-endian order"
#endif
#ifndef MAP_NORESERVE
#define MAP_NORESERVE 0
#endif

#include "api.h"
#include ZG_SIMD
#include "internal.h"

#include "guard.c"
#include "threads.c"
#include "panels.c"
#include "coded.c"
#include "packing.c"
#include "checksum.c"
#include "activations.c"
#include "pieces.c"
#include "quantize.c"
#include "dot.c"
#include "linear.c"
#include "embedding.c"
#include "route.c"
#include "experts.c"
#include "norm.c"
#include "rope.c"
#include "elementwise.c"
#include "streams.c"
#include "cache.c"
#include "products.c"
#include "softmax.c"
#include "block.c"
#include "attention.c"
#include "recurrent.c"
#include "short_conv.c"
#include "step.c"
#include "best.c"

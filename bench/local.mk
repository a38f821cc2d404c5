# bench/launch measures; bench/start, bench/decline and ./demo drive it.  bench/entropy looks at addresses.

noinst_PROGRAMS += bench/launch
bench_launch_SOURCES = bench/launch.c

EXTRA_DIST += bench/README.md bench/start bench/decline bench/entropy bench/demo.py bench/measure.py

#!/bin/sh
# autogen.sh - makes configure and Makefile.in in a fresh checkout.
cd "$(dirname "$0")" && exec autoreconf --force --install

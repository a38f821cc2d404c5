"""A whole installed system, copied, prelinked in every placement and compared with ld.so, program by program."""

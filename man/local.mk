# The manual pages.

dist_man_MANS = man/fastprelink.8 man/fastprelink-originals.8 man/fastprelink-runtime.7

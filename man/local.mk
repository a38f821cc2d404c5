# The manual pages.

dist_man_MANS = man/fastprelink.8 man/fastprelink-originals.8 man/fastprelink.conf.5 man/fastprelink-runtime.7

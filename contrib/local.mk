# The shipped configuration.

dist_vendorconf_DATA = contrib/fastprelink.conf.d/50-exposed.conf

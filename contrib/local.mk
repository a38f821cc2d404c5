# The shipped configuration.

dist_vendorconf_DATA = \
	contrib/fastprelink.conf.d/10-directories.conf \
	contrib/fastprelink.conf.d/20-excluded.conf \
	contrib/fastprelink.conf.d/50-exposed.conf

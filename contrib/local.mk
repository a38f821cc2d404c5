# The shipped configuration, what package managers and the timer call, and packages.

dist_vendorconf_DATA = \
	contrib/fastprelink.conf.d/10-directories.conf \
	contrib/fastprelink.conf.d/20-excluded.conf \
	contrib/fastprelink.conf.d/50-exposed.conf

# Beside the runtime.
autodir = $(pkglibdir)
auto_SCRIPTS = contrib/auto
sbin_SCRIPTS = contrib/fastprelink-originals

# For packages to install.
integrations = \
	contrib/pacman/fastprelink.hook \
	contrib/pacman/fastprelink.install \
	contrib/systemd/fastprelink.service
noinst_DATA += $(integrations)

# Paths are those of this configuration.
with_paths = $(auto_SCRIPTS) $(sbin_SCRIPTS) $(integrations)
CLEANFILES += $(with_paths) fastprelink_*.deb deb.log
$(with_paths): Makefile
	$(AM_V_GEN)$(MKDIR_P) $(@D) && sed -e 's|[@]pkglibdir@|$(pkglibdir)|' -e 's|[@]sbindir@|$(sbindir)|' \
		-e 's|[@]sysconfdir@|$(sysconfdir)|' $(srcdir)/$@.in >$@.new && mv $@.new $@
contrib/auto: contrib/auto.in
contrib/fastprelink-originals: contrib/fastprelink-originals.in
contrib/systemd/fastprelink.service: contrib/systemd/fastprelink.service.in
contrib/pacman/fastprelink.hook: contrib/pacman/fastprelink.hook.in
contrib/pacman/fastprelink.install: contrib/pacman/fastprelink.install.in

EXTRA_DIST += contrib/auto.in contrib/fastprelink-originals.in contrib/debian contrib/default contrib/make-deb \
	contrib/pacman contrib/rpm contrib/systemd

# The Debian package of these sources, dated like the last commit or, in a distribution, like NEWS.
.PHONY: deb
deb: dist
	epoch=$${SOURCE_DATE_EPOCH:-$$(git -C $(srcdir) log -1 --format=%ct 2>/dev/null || \
		stat -c %Y $(srcdir)/NEWS)} && \
	SOURCE_DATE_EPOCH=$$epoch $(srcdir)/contrib/make-deb $(distdir).tar.xz $(VERSION) .

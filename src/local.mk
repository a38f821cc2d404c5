# The command.

sbin_PROGRAMS += src/fastprelink
src_fastprelink_SOURCES = \
	src/main.c \
	src/options.c \
	src/options.h \
	src/output.c \
	src/output.h
src_fastprelink_CPPFLAGS = $(AM_CPPFLAGS) $(POPT_CFLAGS) $(JANSSON_CFLAGS)
src_fastprelink_LDADD = $(libfastprelink_libs) $(POPT_LIBS) $(JANSSON_LIBS)

# The command.

sbin_PROGRAMS += src/fastprelink
src_fastprelink_SOURCES = \
	src/junit.c \
	src/junit.h \
	src/main.c \
	src/options.c \
	src/options.h \
	src/output.c \
	src/output.h \
	src/progress.c \
	src/progress.h \
	src/records.c \
	src/records.h \
	src/say.c \
	src/say.h \
	src/summary.c \
	src/tally.c \
	src/tally.h \
	src/text.c \
	src/text.h \
	src/verified.c
src_fastprelink_CPPFLAGS = $(AM_CPPFLAGS) $(POPT_CFLAGS) $(JANSSON_CFLAGS)
src_fastprelink_LDADD = $(libfastprelink_libs) $(POPT_LIBS) $(JANSSON_LIBS)

dnl fp-flags.m4 - which of some flags the compiler and the linker take.

dnl FP_CC_FLAGS(VARIABLE, FLAGS), FP_LINK_FLAGS(VARIABLE, FLAGS): sets VARIABLE to those of FLAGS that are taken
dnl without a warning when compiling, or linking, in order, and substitutes it.
AC_DEFUN([FP_CC_FLAGS], [FP_FLAGS_([$1], [$2], [CFLAGS], [AC_COMPILE_IFELSE])])
AC_DEFUN([FP_LINK_FLAGS], [FP_FLAGS_([$1], [$2], [LDFLAGS], [AC_LINK_IFELSE])])

dnl FP_FLAGS_(VARIABLE, FLAGS, WHERE THEY GO, TEST)
AC_DEFUN([FP_FLAGS_], [
	$1=
	fp_saved_flags=$$3
	for fp_flag in m4_normalize([$2]); do
		AC_MSG_CHECKING([whether $CC accepts $fp_flag])
		$3="$fp_saved_flags -Werror $fp_flag"
		$4([AC_LANG_PROGRAM([], [])],
			[AC_MSG_RESULT([yes])
			 $1="$$1${$1:+ }$fp_flag"],
			[AC_MSG_RESULT([no])])
	done
	$3=$fp_saved_flags
	AC_SUBST([$1])
])

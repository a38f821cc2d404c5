dnl fp-cc-flags.m4 - FP_CC_FLAGS(VARIABLE, FLAGS): sets VARIABLE to those of FLAGS that the C compiler takes
dnl without a warning, in order, and substitutes it.
AC_DEFUN([FP_CC_FLAGS], [
	$1=
	fp_saved_cflags=$CFLAGS
	for fp_flag in m4_normalize([$2]); do
		AC_MSG_CHECKING([whether $CC accepts $fp_flag])
		CFLAGS="$fp_saved_cflags -Werror $fp_flag"
		AC_COMPILE_IFELSE([AC_LANG_SOURCE([int fp_declared;])],
			[AC_MSG_RESULT([yes])
			 $1="$$1${$1:+ }$fp_flag"],
			[AC_MSG_RESULT([no])])
	done
	CFLAGS=$fp_saved_cflags
	AC_SUBST([$1])
])

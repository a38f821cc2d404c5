# The tests are pytest's; they find the build through FASTPRELINK_BUILD.

PYTEST_FLAGS = -q -n auto

EXTRA_DIST += testsuite

check-local: all
	cd $(srcdir) && FASTPRELINK_BUILD='$(abs_builddir)' PYTHONDONTWRITEBYTECODE=1 \
		$(PYTHON) -m pytest -p no:cacheprovider $(PYTEST_FLAGS) testsuite

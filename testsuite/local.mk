# The tests are pytest's; they find the build through FASTPRELINK_BUILD.

PYTEST_FLAGS = -q -n auto

EXTRA_DIST += testsuite
dist-hook:
	find "$(distdir)/testsuite" "(" -name __pycache__ -o -name .pytest_cache ")" -prune -exec rm -rf {} +

check-local: all
	cd $(srcdir) && FASTPRELINK_BUILD='$(abs_builddir)' PYTHONDONTWRITEBYTECODE=1 \
		$(PYTHON) -m pytest -p no:cacheprovider $(PYTEST_FLAGS) testsuite

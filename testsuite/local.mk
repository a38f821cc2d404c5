# The tests are pytest's; they find the build through FASTPRELINK_BUILD.

PYTEST_FLAGS = -q -n auto

EXTRA_DIST += testsuite

check-local: all
	cd $(srcdir) && FASTPRELINK_BUILD='$(abs_builddir)' PYTHONDONTWRITEBYTECODE=1 \
		$(PYTHON) -m pytest -p no:cacheprovider $(PYTEST_FLAGS) testsuite

# 2,000 generated closures; ./check has the first 100.
SEEDS = 0-1999

.PHONY: check-generated
check-generated: all
	cd $(srcdir) && FASTPRELINK_BUILD='$(abs_builddir)' FASTPRELINK_SEEDS='$(SEEDS)' PYTHONDONTWRITEBYTECODE=1 \
		$(PYTHON) -m pytest -p no:cacheprovider $(PYTEST_FLAGS) testsuite/test_generated.py

# The Debian package with large programs, and the other package managers; as root.  packages-package.txt is for this.
.PHONY: check-package
check-package: all
	cd $(srcdir) && FASTPRELINK_BUILD='$(abs_builddir)' FASTPRELINK_LONG=1 PYTHONDONTWRITEBYTECODE=1 \
		$(PYTHON) -m pytest -p no:cacheprovider -q testsuite/test_long_package.py

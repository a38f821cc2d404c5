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

# Every program of an installed system, or of the root SYSTEM, in each of PLACEMENTS.  PROGRAMS: a pattern; FORCE=1: those
# with little to gain too.
SYSTEM = /
PLACEMENTS = default aslr fixed mixed
PROGRAMS =
JOBS = 0
FORCE =

.PHONY: check-system
check-system: all
	cd $(srcdir)/testsuite && FASTPRELINK_BUILD='$(abs_builddir)' PYTHONDONTWRITEBYTECODE=1 \
		$(PYTHON) -m system --system='$(SYSTEM)' --placements='$(PLACEMENTS)' --programs='$(PROGRAMS)' \
		--jobs='$(JOBS)' --work='$(abs_builddir)/check-system' $(if $(FORCE),--force)

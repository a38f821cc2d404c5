# The tests are pytest's; they find the build through FASTPRELINK_BUILD.

PYTEST_FLAGS = -q -n auto
TEST_ENVIRONMENT = FASTPRELINK_BUILD='$(abs_builddir)' PYTHONDONTWRITEBYTECODE=1
PYTEST = $(PYTHON) -m pytest -p no:cacheprovider $(PYTEST_FLAGS)

EXTRA_DIST += testsuite

check-local: all
	cd $(srcdir) && $(TEST_ENVIRONMENT) $(PYTEST) testsuite

# 2,000 generated closures; ./check has the first 100.
SEEDS = 0-1999

.PHONY: check-generated
check-generated: all
	cd $(srcdir) && $(TEST_ENVIRONMENT) FASTPRELINK_SEEDS='$(SEEDS)' $(PYTEST) testsuite/test_generated.py

# Every program of an installed system, or of the root SYSTEM, in each of PLACEMENTS.  ONLY: a pattern; JOBS=0: as many
# as there are processors; SYSTEM_FLAGS=--force: prelinks what has little to gain too.
SYSTEM = /
PLACEMENTS = default aslr fixed mixed
ONLY =
JOBS = 0
SYSTEM_FLAGS =

.PHONY: check-system
check-system: all
	cd $(srcdir)/testsuite && $(TEST_ENVIRONMENT) $(PYTHON) -m system --system='$(SYSTEM)' --placements='$(PLACEMENTS)' \
		--programs='$(ONLY)' --jobs='$(JOBS)' --work='$(abs_builddir)/check-system' $(SYSTEM_FLAGS)

# The same for other releases of Debian; their roots are made once, below RELEASES.  MIRROR: where their packages come from.
SUITES = trixie sid
RELEASES = $(abs_builddir)/releases
MIRROR =

.PHONY: check-releases
check-releases: all
	@mkdir -p '$(RELEASES)'
	failed=0; for suite in $(SUITES); do \
		$(srcdir)/testsuite/system/make-release $$suite '$(RELEASES)'/$$suite $(MIRROR) && \
			$(MAKE) check-system SYSTEM='$(RELEASES)'/$$suite || failed=1; \
	done; exit $$failed

# The suite with everything prelinked and undone three times: each time to the same bytes.
CYCLES = 3

.PHONY: check-cycle
check-cycle: all
	cd $(srcdir) && $(TEST_ENVIRONMENT) FASTPRELINK_CYCLES=$(CYCLES) FASTPRELINK_PLACEMENT=aslr $(PYTEST) testsuite
	cd $(srcdir) && $(TEST_ENVIRONMENT) FASTPRELINK_CYCLES=$(CYCLES) FASTPRELINK_PLACEMENT=fixed \
		$(PYTEST) -m 'not one_placement' testsuite

# The suite in a system of which everything is prelinked: what compiles, debugs and runs the tests, and what they load.
.PHONY: check-harder
check-harder: all
	cd $(srcdir)/testsuite && $(TEST_ENVIRONMENT) FASTPRELINK_HARDER=1 FASTPRELINK_PLACEMENT=fixed \
		$(PYTHON) -m system.harder --work='$(abs_builddir)/check-harder' --programs='$(HARDER)' \
		$(PYTEST) -c pytest.ini .

HARDER = /usr/*

# The Debian package with large programs, and the other package managers; as root.  packages-package.txt is for this.
.PHONY: check-package
check-package: all
	cd $(srcdir) && $(TEST_ENVIRONMENT) FASTPRELINK_LONG=1 $(PYTHON) -m pytest -p no:cacheprovider -q testsuite/test_long_package.py

EXTRA_DIST += doc/design.md doc/format.md doc/limits.md doc/packaging.md doc/security.md contrib/packages-build.txt contrib/packages-demo.txt contrib/setup.sh

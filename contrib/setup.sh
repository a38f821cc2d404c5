# setup.sh - the set-up that ./demo and ./check share; sourced by them, in the top folder of the sources.
#
# Package lists are files of one Debian package per line; "a | b" means that either does, and that the first one
# that the distribution has is installed; "#" starts a comment.

say()
{
	printf '%s: %s\n' "${0##*/}" "$*" >&2
}

die()
{
	say "$@"
	exit 1
}

# Prints the lines of the list files given, without comments.
package_lines()
{
	for list in "$@"; do
		[ ! -e "$list" ] || sed 's/#.*//; s/|/ /g' "$list"
	done | awk 'NF'
}

# Whether apt can install the package.
available()
{
	apt-cache policy "$1" 2>/dev/null | grep -q 'Candidate: [^(]'
}

# Prints the packages of the lines on stdin of which no alternative is installed; the first alternative that apt
# knows, when apt knows one.
missing_packages()
{
	while read -r line; do
		found=
		for package in $line; do
			if dpkg-query -W -f '${Status}\n' "$package" 2>/dev/null |
				grep -q ' installed$'; then
				found=yes
				break
			fi
		done
		[ -z "$found" ] || continue
		for package in $line; do
			if available "$package"; then
				found=$package
				break
			fi
		done
		echo "${found:-${line%% *}}"
	done
}

# install_packages LIST...: installs what is missing from the lists; an ordinary user is told the command.
install_packages()
{
	if ! command -v dpkg-query >/dev/null || ! command -v apt-get >/dev/null; then
		say "not a Debian system: the packages are taken to be there ($*)"
		return
	fi
	missing=$(package_lines "$@" | missing_packages | sort -u)
	[ -n "$missing" ] || return 0
	if [ "$(id -u)" != 0 ]; then
		say "packages are missing; as root, run this one command and start again:"
		echo "    apt-get update && apt-get install --no-install-recommends" $missing >&2
		exit 1
	fi
	apt-get -q update >/dev/null || die "apt-get update failed"
	# With the lists fresh the choice between alternatives may be another one.
	wanted=
	for package in $(package_lines "$@" | missing_packages | sort -u); do
		if available "$package"; then
			wanted="$wanted $package"
		elif [ "${CI:-}" = true ]; then
			die "$package: this distribution has no such package"
		else
			say "$package: this distribution has no such package; going on without it"
		fi
	done
	[ -n "$wanted" ] || return 0
	say "installing$wanted"
	DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends $wanted \
		>/dev/null || die "apt-get install failed"
}

# Configures and builds into ./build, quietly and only as far as needed.
build()
{
	mkdir -p build || exit 1
	if ! { build_quietly >build/build.log 2>&1; }; then
		tail -n 30 build/build.log >&2
		die "the build failed (all of it: build/build.log)"
	fi
}

build_quietly()
{
	if [ ! -e configure ]; then
		./autogen.sh || return 1
	fi
	if [ ! -e build/Makefile ]; then
		(cd build && ../configure) || return 1
	fi
	make -C build -j "$(nproc)"
}

# What `prove.sh` and `arm64.sh` share: roots of Debian's, and our wheels in them. To be sourced.
cd "$(dirname "$0")/../.."
uv=$PWD/.tools/bin/uv mirror=${MIRROR:-http://deb.debian.org/debian}

wants() { # wants PROGRAM PACKAGE…: as root, with these of Debian's
    if [ "$(id -u)" != 0 ]; then
        echo "only root can make a root: sudo make $made_by"
        exit 77
    fi
    local want=""
    while [ $# -gt 0 ]; do
        command -v "$1" >/dev/null || [ -x "/usr/sbin/$1" ] || want="$want $2"
        shift 2
    done
    [ -z "$want" ] || { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq $want >/dev/null; }
}

base() { # base DIR debootstrap's words…: made once, and kept
    [ ! -e "$1/.whole" ] || return 0
    echo "--- a bare Debian, as its installer leaves it"
    rm -rf "$1" && mkdir -p "$1"
    /usr/sbin/debootstrap --variant=minbase "${@:2}" "$1" "$mirror" >"$1.log" || { tail "$1.log"; exit 1; }
    # One for another processor is unpacked, not configured: nothing of Debian's has to run under emulation.
    case " $* " in *" --foreign "*) for deb in "$1"/var/cache/apt/archives/*.deb; do dpkg-deb -x "$deb" "$1"; done ;; esac
    touch "$1/.whole"
}

wheels() { # wheels PLATFORM PYTHON TARGET: the agent's, and of all that it needs, and nothing but wheels
    echo "--- wheels for $1, Python $2"
    local here
    here=$(mktemp -d)
    "$uv" build --quiet --wheel --out-dir "$here" .
    "$uv" export --quiet --frozen --no-dev --no-emit-project --no-hashes >"$here/requirements.txt"
    "$uv" pip install --quiet --python-platform "$1" --python-version "$2" --only-binary :all: --no-deps \
        --target "$3" -r "$here/requirements.txt" "$here"/*.whl
    rm -rf "$here"
}

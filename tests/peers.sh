#!/bin/sh
# Servers of other projects that the integration tests meet, in build/: @tus/server from npm, moto (an S3) from PyPI.
# What cannot be installed is named, and its tests are skipped.
set -u
uv="$1" python="$2"
if [ ! -d build/npm/node_modules/@tus/server ]; then
    if command -v npm >/dev/null; then
        npm install --prefix build/npm --no-audit --no-fund --loglevel=error --no-progress \
            @tus/server@2.4.5 @tus/file-store@2.1.1 >/dev/null || echo "@tus/server: npm could not install it; its tests are skipped"
    else
        echo "@tus/server: npm is missing; its tests are skipped (sudo apt-get install npm)"
    fi
fi
if [ ! -x build/moto/bin/moto_server ]; then
    { "$uv" venv --quiet --allow-existing --python "$python" build/moto &&
        "$uv" pip install --quiet --python build/moto/bin/python -r tests/integration/requirements-s3.txt; } ||
        echo "moto: could not be installed in build/moto; the tests with S3 are skipped"
fi
exit 0

#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# A base for the image without any registry: base.tar, ffmpeg and curl as Debian's packages of this machine have them, with the
# libraries that they load.
set -eu
cd "$(dirname "$0")"
programs='/usr/bin/ffmpeg /usr/bin/curl /bin/sh'
libraries=$(ldd $programs | grep -o '/[^ ]*[^ :]' | sort -u)
tar --create --file base.tar.new --dereference --absolute-names --transform 's,^/,,' --hard-dereference $libraries $programs
mv base.tar.new base.tar

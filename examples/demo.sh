#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# `make demo`: from a checkout to a scikit-learn model that answers as a function and as a service, and to a pipeline that makes
# pictures of videos, with what each call took and cost.
# `make demo-stop` ends it.
# Leaves Tandem running, so that one can look around; a second run restarts it on the same state.
set -euo pipefail
cd "$(dirname "$0")/.."

STATE=$PWD/build/demo-state
LOG=$PWD/build/demo.log
PIDFILE=$PWD/build/demo.pid
T=build/tandem
ROWS=examples/iris/rows.csv
APP=examples/iris-service
PIPELINE=examples/thumbnails
CALLS="/usr/bin/python3 examples/demo_calls.py"
WARM_CALLS=200

# The calls go to what this script started, not to what the caller's shell points at.
unset MAKEFLAGS MFLAGS MAKELEVEL TANDEM_STATE NODE_OPTIONS PYTHONPATH
export TANDEM_STATE=$STATE

bold='' dim='' red='' off='' live=''
if [ -t 1 ]; then
	live=yes
	if [ -z "${NO_COLOR:-}" ] && [ "${TERM:-dumb}" != dumb ]; then
		bold=$'\e[1m' dim=$'\e[2m' red=$'\e[31m' off=$'\e[0m'
	fi
fi

title() {
	printf '\n%s%s%s\n' "$bold" "$1" "$off"
}

step() {
	printf '  %-28s' "$1"
}

shown() {
	printf '%s$ %s%s\n' "$dim" "$1" "$off"
}

die() {
	printf '\n%sdemo: %s%s\n' "$red" "$1" "$off" >&2
	exit 1
}

# A pid alone may belong to somebody else by now: it must also be the spawner of this checkout.
running_pid() {
	local pid exe
	pid=$(cat "$PIDFILE" 2>/dev/null) || return 1
	exe=$(readlink "/proc/$pid/exe" 2>/dev/null) || return 1
	[ "${exe% (deleted)}" = "$PWD/build/tandem-spawner" ] && echo "$pid"
}

stop() {
	local pid
	pid=$(running_pid) || return 1
	kill -TERM "$pid"
	for _ in $(seq 400); do
		[ -e "/proc/$pid" ] || break
		sleep 0.05
	done
	[ ! -e "/proc/$pid" ] || die "process $pid does not end; its log is $LOG"
	rm -f "$PIDFILE"
}

packages() {
	mkdir -p build
	tools/deps build run demo || die 'what is missing could not be installed'
	step 'Debian packages'
	echo 'there'
}

build() {
	local began=$SECONDS files=0 line
	step 'Build'
	[ -n "$live" ] || printf '... '
	while IFS= read -r line; do
		printf '%s\n' "$line" >&3
		case $line in *' -c -o '*) files=$((files + 1)) ;; esac
		[ -z "$live" ] || printf '\r  %-28s%d files ' 'Build' "$files"
	done 3>build/demo-build.log < <(make -j"$(nproc)" all 2>&1 || echo 'demo: build failed')
	if grep -q '^demo: build failed' build/demo-build.log; then
		echo
		grep -E ' error: |undefined reference|\*\*\*' build/demo-build.log | head -20 >&2
		die 'the build failed; all of it is in build/demo-build.log'
	fi
	[ -z "$live" ] || printf '\r  %-28s' 'Build'
	if [ $files = 0 ]; then
		echo 'up to date      '
	else
		echo "$files files in $((SECONDS - began)) s"
	fi
}

# The usual port, or any free one when somebody has it.
address() {
	if (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; then
		echo 127.0.0.1:0
	else
		echo "127.0.0.1:$1"
	fi
}

start() {
	local pid
	step 'Tandem'
	if stop; then
		printf 'restarted, '
	fi
	mkdir -p -m 0710 "$STATE"
	chmod go-w "$STATE"
	setsid "$T" serve --state "$STATE" --api "$(address 4566)" --gateway "$(address 8080)" </dev/null >"$LOG" 2>&1 &
	pid=$!
	echo $pid >"$PIDFILE"
	for _ in $(seq 200); do
		"$T" env >/dev/null 2>&1 && break
		[ -e "/proc/$pid" ] || break
		sleep 0.05
	done
	if ! where=$("$T" env 2>&1); then
		echo
		tail -20 "$LOG" >&2
		die "Tandem did not start: $where"
	fi
	eval "$where"
	echo "API $AWS_ENDPOINT_URL, gateway $TANDEM_GATEWAY"
}

# The base is made again when packages have changed since.
up() {
	step "The image's base"
	if [ $APP/base.tar -nt /var/lib/dpkg/status ] && [ $APP/base.tar -nt $APP/base.py ]; then
		echo 'there'
	else
		$APP/base.py
		echo "$(($(stat -c %s $APP/base.tar) / 1000000)) MB of this machine's packages"
	fi
	[ $PIPELINE/base.tar -nt /var/lib/dpkg/status ] && [ $PIPELINE/base.tar -nt $PIPELINE/base.sh ] || $PIPELINE/base.sh
	step 'The model, twice'
	echo
	shown "$T up -f $APP/tandem.yaml"
	buildah info >/dev/null 2>&1 || export STORAGE_DRIVER=vfs # where / is an overlay itself
	"$T" up -f $APP/tandem.yaml 2>build/demo-image.log | sed 's/^/  /' || die "it could not be brought up; see build/demo-image.log"
}

# The seconds that one call with all rows takes; the answer is in build/demo-$1.json.
ask() {
	shown "curl $TANDEM_GATEWAY$2 -d @build/demo-question.json" >&2
	curl -sS --fail-with-body -o "build/demo-$1.json" -w '%{time_total}' -H 'content-type: application/json' \
		-d @build/demo-question.json "$TANDEM_GATEWAY$2" || die "the call failed: $(cat "build/demo-$1.json")"
}

# Ends the instance that `up` has checked the function with, so that the first call finds none.
call_http() {
	title 'Over HTTP: flowers that the model has not seen'
	"$T" stop iris >/dev/null
	$CALLS question "$ROWS" >build/demo-question.json
	cold=$(ask function /predict)
	ask service /service/predict >/dev/null
	$CALLS table "$ROWS" build/demo-function.json build/demo-service.json
}

call_lambda() {
	title 'Over the Lambda API: one of them, with the AWS CLI'
	shown 'eval "$(build/tandem env)"'
	echo '{"rows": [[6.3, 3.3, 6.0, 2.5]]}' >build/demo-row.json
	shown 'aws lambda invoke --function-name iris --payload fileb://build/demo-row.json build/demo-lambda.json'
	# fileb: what version 1 and version 2 of the AWS CLI both take as it is.
	aws lambda invoke --function-name iris --payload fileb://build/demo-row.json build/demo-lambda.json >build/demo-aws.json ||
		die 'the AWS CLI could not call the function'
	sed 's/^/  /' build/demo-lambda.json
	echo
}

latency() {
	title 'What a call takes'
	echo '  the function'
	$CALLS latency "$T" "$TANDEM_GATEWAY/predict" "$cold" "$WARM_CALLS"
	echo '  the service'
	$CALLS service "$T" "$TANDEM_GATEWAY/service/predict" "$WARM_CALLS"
}

# From zero: no function of it has run, or its instance is gone since.
pipeline() {
	title 'A video arrives, a function asks for a picture of it, ffmpeg in a task takes it, a second function records it'
	shown "$T up -f $PIPELINE/tandem.yaml"
	"$T" up -f $PIPELINE/tandem.yaml 2>build/demo-pipeline.log | sed 's/^/  /' || die "it could not be brought up; see build/demo-pipeline.log"
	shown "$T run localhost/thumbnails-frame ffmpeg -f lavfi -i testsrc ... >build/clip_00-03.mp4"
	"$T" run localhost/thumbnails-frame ffmpeg -nostdin -loglevel error -f lavfi -i testsrc=duration=5:size=640x360 \
		-pix_fmt yuv420p -movflags frag_keyframe+empty_moov -f mp4 pipe:1 >build/clip_00-03.mp4 || die 'ffmpeg made no video'
	shown 'aws s3 cp build/clip_00-03.mp4 s3://media/'
	/usr/bin/python3 examples/demo_pipeline.py "$T" build/clip_00-03.mp4
}

ledger() {
	title 'What the calls cost'
	shown "$T cost"
	"$T" cost | sed 's/^/  /'
}

advice() {
	title 'Where they belong, by these few calls'
	shown "$T advise iris"
	"$T" advise iris | sed 's/^/  /'
}

further() {
	title 'Look further'
	cat <<END
  export TANDEM_STATE=$STATE
  $T ls                      what is declared          $T ps      what runs
  $T describe iris           all about one function    $T logs iris
  $T describe iris-service   all about the service
  $T cost --by rows          the last calls, one line each
  $T advise                  which lane each workload belongs in, and why (docs/deciding.md)
  aws s3 cp build/clip_00-03.mp4 s3://media/other_00-01.mp4; $T logs record
  curl $TANDEM_GATEWAY/predict -d '{"rows": [[5.9, 3.0, 5.1, 1.8]]}'
  eval "\$($T env)"           then any AWS client of this shell calls Tandem

  Tandem goes on running (log: build/demo.log).   Stop it:  make demo-stop
END
}

[ "$(id -u)" = 0 ] || die 'needs root, to install packages and to make sandboxes. Try: sudo make demo'

if [ "${1:-}" = --stop ]; then
	stop && echo 'demo: stopped; its state stays in build/demo-state' || echo 'demo: does not run'
	exit 0
fi

printf '%sTandem%s: a scikit-learn model as a function and as a service, and a pipeline, on this machine\n\n' "$bold" "$off"
packages
build
start
up
call_http
call_lambda
latency
pipeline
ledger
advice
further

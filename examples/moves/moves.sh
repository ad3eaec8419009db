#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Load until quote has moved to the container lane, then none until it is back. The first takes a minute, the
# second two.
#   TANDEM  the tool and its options       ROUND  between two looks, "sleep 1" when not set
set -eu
tandem=${TANDEM:-tandem}
round=${ROUND:-sleep 1}
cd "$(dirname "$0")"
$tandem up
gateway=$($tandem env -o json | sed -n 's/.*"gateway": *"\([^"]*\)".*/\1/p')

lane() {
	$tandem describe quote -o json | tr , '\n' | sed -n 's/.*"lane": *"\([a-z]*\)".*/\1/p'
}

until_in() { # LANE REQUESTS: so many requests a round, 25 at once
	while [ "$(lane)" != "$1" ]; do
		[ "$2" = 0 ] || curl -sf --fail-early -Z --parallel-max 25 "$gateway/quote?[1-$2]" -o /dev/null 2>/dev/null
		$round
		why=$($tandem why quote | sed -n 's/^lane */  /p' | head -1)
		[ "$why" = "${said:-}" ] || echo "$why"
		said=$why
	done
}

echo "asked a lot:"
until_in container 1000
echo "asked no more:"
until_in function 0
$tandem events quote | grep ' lane '

#!/usr/bin/env bash
# Measures the key-value example beside redis-server and prints a Markdown table.
#
# usage: compare.sh [ROUNDS [REQUESTS]]      (default: 5 rounds of 200000 requests)
#
# Both servers run all the time, and in each round each test runs against one and then the other, in changing order, so
# that whatever else the machine does meets both. Per test and server the median over the rounds is taken. Processor
# time is what the kernel charged the server during the run, per request: unlike the rate it hardly depends on who
# else is busy.
set -euo pipefail
cd "$(dirname "$0")/../../../.."
rounds=${1:-5} requests=${2:-200000}
clients=200 pipelines=(1 16) tests=(set get incr lpush lrange_100)

for program in redis-server redis-cli redis-benchmark; do
    command -v "$program" >/dev/null || { echo "compare.sh: $program is not installed" >&2; exit 1; }
done
cargo build --quiet --release -p millpond --example kv
target=${CARGO_TARGET_DIR:-target}
scratch=$(mktemp -d)
pids=()
trap 'kill "${pids[@]}" 2>/dev/null || true; wait; rm -rf "$scratch"' EXIT

"$target/release/examples/kv" --addr 127.0.0.1:0 >"$scratch/kv.log" &
pids+=($!)
redis_port=$((20000 + RANDOM % 10000))
redis-server --port "$redis_port" --bind 127.0.0.1 --save '' --appendonly no --dir "$scratch" >"$scratch/redis.log" &
pids+=($!)
until redis-cli -p "$redis_port" ping >/dev/null 2>&1; do
    kill -0 "${pids[1]}" || { cat "$scratch/redis.log" >&2; exit 1; }
    sleep 0.1
done
until grep -q '^listening on ' "$scratch/kv.log"; do sleep 0.1; done
ports=("$(sed 's/.*://' "$scratch/kv.log")" "$redis_port")

# busy_us SERVER: the processor time of a server so far, in microseconds.
busy_us() {
    local fields
    read -r -a fields <<<"$(sed 's/.*) //' "/proc/${pids[$1]}/stat")"
    echo $(((fields[11] + fields[12]) * 1000000 / $(getconf CLK_TCK)))
}

# measure SERVER TEST PIPELINE COUNT: appends requests per second, and busy nanoseconds per request.
measure() {
    local before out rate
    before=$(busy_us "$1")
    out=$(redis-benchmark -p "${ports[$1]}" -t "$2" -c "$clients" -P "$3" -n "$4" --csv)
    # The last line: lrange_100 fills its list first.
    rate=$(tail -n 1 <<<"$out" | cut -d, -f2 | tr -d '"')
    echo "$rate" >>"$scratch/rate-$2-$3-$1"
    echo $((($(busy_us "$1") - before) * 1000 / $4)) >>"$scratch/busy-$2-$3-$1"
}

median() { sort -n "$1" | sed -n "$(((rounds + 1) / 2))p"; }

for ((round = 0; round < rounds; round++)); do
    for test in "${tests[@]}"; do
        for pipeline in "${pipelines[@]}"; do
            count=$((pipeline == 1 ? requests / 2 : requests))
            redis-cli -p "${ports[0]}" flushall >/dev/null
            redis-cli -p "${ports[1]}" flushall >/dev/null
            for turn in 0 1; do
                measure $(((round + turn) % 2)) "$test" "$pipeline" "$count"
            done
        done
    done
done

echo "| test | \`-P\` | kv, requests/s | redis-server | ratio | kv, processor µs/request | redis-server | ratio |"
echo "|---|---|---|---|---|---|---|---|"
for test in "${tests[@]}"; do
    for pipeline in "${pipelines[@]}"; do
        row="| $test | $pipeline |"
        for what in rate busy; do
            row+=$(awk -v ours="$(median "$scratch/$what-$test-$pipeline-0")" \
                -v theirs="$(median "$scratch/$what-$test-$pipeline-1")" -v what="$what" 'BEGIN {
                    format = what == "rate" ? " %.0f | %.0f | %.2f |" : " %.2f | %.2f | %.2f |"
                    unit = what == "rate" ? 1 : 1000
                    printf format, ours / unit, theirs / unit, (theirs > 0 ? ours / theirs : 0)
                }')
        done
        echo "$row"
    done
done

#!/usr/bin/env bash
# The last part of the shipped networks' training: the same number of iterations for SYSTEM (stcn,
# pcvos or remn) from the weights START of train_lite0.sh, so that the networks differ in what a
# system adds alone. Modules that START lacks are initialised from scratch; the key encoder stays
# as it is in START. Results: runs/NAME.
#   scripts/train_lite0_system.sh DAVIS_ROOT STATIC_ROOT NAME SYSTEM START [flags of train.py]
# Repeat the command after a stop to resume.
set -euo pipefail
repository=$(dirname "$0")/..
source "$repository/scripts/_stages.sh"
usage_if_fewer_than 5 "$@"
begin_small_recipe "$@"
system=$4 start=$5
shift 5
cd "$repository"
frozen=(frozen=key_encoder bootstrap.end_iteration=300)
case $system in
    stcn) part=("${per_clip[@]}" "${frozen[@]}") ;; # per_clip ends with --set and its values
    pcvos) part=("${per_clip[@]}" "${frozen[@]}" system=pcvos) ;;
    remn) part=(--frames 6 --max_skip 4 --set "${frozen[@]}" system=remn reduce_frames=4) ;;
    *)
        echo "error: $system: no such system; choose stcn, pcvos or remn" >&2
        exit 2
        ;;
esac
train_stage synthetic "$name" "${recipe[@]}" --network "${system}_lite0" --load_network "$start" \
    --iterations 900 --batch_size 4 --lr 3e-4 --warmup_iterations 30 --average_decay 0.995 \
    "${part[@]}" "$@"

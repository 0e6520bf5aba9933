# Sourced by the recipes train_*.sh from the repository's root: runs one stage on all GPUs of this machine (without one: one process on the CPU).
# A stage that is finished is left as it is, one that was stopped goes on, so that the same command can be given again and again.
python=${PYTHON:-python}

# train_stage STAGE RUN_ID [flags of train.py]
train_stage() {
    local stage=$1 run_id=$2
    shift 2
    if [ -e "runs/$run_id/weights.pth" ]; then
        echo "runs/$run_id is finished"
        return
    fi
    PROCESSES=${PROCESSES:-$("$python" -c 'import torch; print(max(torch.cuda.device_count(), 1))')}
    "$python" -m torch.distributed.run --standalone --nproc_per_node="$PROCESSES" train.py --stage "$stage" --id "$run_id" --load_model auto "$@"
}

# usage_if_fewer_than COUNT "$@": prints the comment at the head of the calling script
usage_if_fewer_than() {
    if [ $(($# - 1)) -lt "$1" ]; then
        sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$0" >&2
        exit 2
    fi
}

# absolute FOLDER: its path, which holds wherever the script goes
absolute() {
    if [ ! -d "$1" ]; then
        echo "error: $1: no such folder" >&2
        return 2
    fi
    realpath "$1"
}

# begin_small_recipe "$@": of DAVIS_ROOT STATIC_ROOT NAME, sets name and what the small networks' recipes share, as recipe and, for training clip by clip, per_clip
begin_small_recipe() {
    usage_if_fewer_than 3 "$@"
    local davis static
    davis=$(absolute "$1") || exit
    static=$(absolute "$2") || exit
    name=$3
    recipe=(--davis_root "$davis" --static_root "$static" --mix video=0.4 static=0.25 synthetic=0.35 --amp bf16 --cache_megabytes 3000)
    per_clip=(--frames 7 --clip_frames 3 --set dice_weight=1.0)
}

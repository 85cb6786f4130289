#!/usr/bin/env bash
# The whole experiment on planted participants, by the public commands a lab would type, each printed as it runs.
# `make demo` calls it; SEED, NULL=1 (participants whose tuning has nothing to do with the images), SIZE (standard or
# smallest), DEMO (the folder), IMAGES (your own photographs), WINDOW=0 (no real window)
# and REUSE (an earlier demo's folder, whose models and images are shown to these participants) choose the variant.
set -euo pipefail

examples=tests/examples
case "$SIZE" in
    standard) pool=420 targets=$examples/targets.toml protocol=protocols/demo.toml runs=4 ;;
    smallest) pool=160 targets=$examples/targets_smallest.toml protocol=$examples/protocol_smallest.toml runs=1 ;;
    *) echo "SIZE=$SIZE: choose standard or smallest" >&2; exit 2 ;;
esac
participants="01 02 03 04" # 01 and 02 are also those the encoding models are fitted on

if [ -e "$DEMO" ]; then # nothing is deleted: an earlier demo is moved aside
    number=1
    while [ -e "$DEMO.$number" ]; do number=$((number + 1)); done
    mv "$DEMO" "$DEMO.$number"
    echo "the earlier $DEMO is now $DEMO.$number"
fi
mkdir -p "$DEMO"
export VOXDRIVE_CACHE="$DEMO/cache" # features of the pool, which fit computes and generate reads

part() { printf '\n== %s\n' "$*"; }
run() { printf '\n$ %s\n' "$*"; "$@"; }

make_images() {
    part "Encoding models: natural images, two participants' responses to them, a model to make images and one to judge them"
    run stimgen pool --count "$pool" --seed "$SEED" --out "$DEMO/pool" ${IMAGES:+--images "$IMAGES"}
    run stimgen cortex "$DEMO/pool" --subject 01 --subject 02 --tuning-seed "$SEED" --out "$DEMO/responses"
    for network in lite0 lite1; do
        run stimgen fit "$examples/fit_$network.toml" --responses "$DEMO/responses/sub-01" --responses "$DEMO/responses/sub-02" \
            --out "$DEMO/models/$network"
    done

    part "Images for five regions, with their controls"
    run stimgen generate "$targets" --model "$DEMO/models/lite0" --judge "$DEMO/models/lite1" --pool "$DEMO/pool" --seed "$SEED" \
        --out "$DEMO/stimuli"
    run stimgen check "$DEMO/stimuli"
}
[ -n "${REUSE:-}" ] || make_images
made=${REUSE:-$DEMO}

part "The scan: four participants, two of whom no model has seen"
run analysis lock "$protocol" --set "$made/stimuli" --out "$DEMO/plan.lock.json"
run experiment plan "$protocol" --set "$made/stimuli" --subjects 4 --seed "$SEED" --out "$DEMO/plan"
run experiment check "$DEMO/plan"
show_in_window() { # a few trials in a real window, the trigger coming from another process through a pseudo-terminal
    if [ -z "${DISPLAY:-}" ] && [ "$(uname)" = Linux ]; then
        if ! command -v Xvfb >/dev/null; then
            echo "no screen and no Xvfb here: the run in a real window is left out (make system says what to install)"
            return
        fi
        Xvfb -displayfd 3 -screen 0 1280x1024x24 +extension GLX +render -noreset 3>"$DEMO/display" 2>/dev/null &
        screen=$!
        trap 'kill $screen 2>/dev/null || true' EXIT
        until [ -s "$DEMO/display" ]; do sleep 0.1; done
        DISPLAY=":$(cat "$DEMO/display")"
        export DISPLAY
    fi
    printf '\n$ experiment emulate-scanner --tr 1 --volumes 60 --serial %s &\n' "$DEMO/scanner_port"
    experiment emulate-scanner --tr 1 --volumes 60 --serial "$DEMO/scanner_port" &
    scanner=$!
    until [ -e "$DEMO/scanner_port" ]; do sleep 0.1; kill -0 "$scanner"; done
    run experiment run "$DEMO/plan" --subject 01 --session 01 --run 1 --bids "$DEMO/window" --trigger "serial:$DEMO/scanner_port" \
        --max-trials 4 --windowed --screenshot "$DEMO/window.png"
    kill "$scanner" 2>/dev/null || true
    rm -f "$DEMO/scanner_port" "$DEMO/display"
}
[ "${WINDOW:-1}" = 0 ] || show_in_window
for subject in $participants; do
    for number in $(seq "$runs"); do
        run experiment run "$DEMO/plan" --subject "$subject" --session 01 --run "$number" --bids "$DEMO/bids" --rehearse --seed "$SEED"
    done
done

part "The scanner: each participant's true responses become BOLD"
if [ "$NULL" = 1 ]; then
    others="--config $examples/participants_unrelated.toml --tuning-seed $((SEED + 1000))"
else
    others="--tuning-seed $SEED"
fi
# shellcheck disable=SC2086 # the options are words
run stimgen cortex "$made/stimuli" --reference "$made/pool" --noise-free $others --subject 01 --subject 02 --subject 03 --subject 04 \
    --out "$DEMO/true_responses"
{
    echo "seed = $SEED"
    for subject in $participants; do
        printf '\n[[participants]]\nsubject = "%s"\nresponses = "%s/true_responses/sub-%s"\n' "$subject" "$DEMO" "$subject"
    done
} > "$DEMO/scanner.toml"
run analysis simulate "$DEMO/scanner.toml" --plan "$DEMO/plan" --set "$made/stimuli" --out "$DEMO/bids"

part "The analysis: did each region respond more to its own images?"
run analysis glm "$DEMO/bids" --protocol "$protocol" --confounds motion6 --out "$DEMO/derivatives/glm"
run analysis rois "$DEMO/bids" --betas "$DEMO/derivatives/glm" --out "$DEMO/derivatives/rois"
run analysis group "$DEMO/derivatives/rois/roi_table.tsv" --protocol "$protocol" --lock "$DEMO/plan.lock.json" --set "$made/stimuli" --out "$DEMO/group"
run analysis report "$DEMO/group" --set "$made/stimuli" --bids "$DEMO/bids" --model "$made/models/lite0" --out "$DEMO/report.html"

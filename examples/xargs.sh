#!/bin/sh
# A run that several workers on this machine share, with nothing but a shell:
#
#   CONFIG=config.toml OUT=runs/big WORKERS=4 sh xargs.sh
#
# The same line on other machines that see OUT adds to them at any time; whatever was interrupted, it goes on.

seq "${WORKERS:-2}" | xargs -P "${WORKERS:-2}" -I N jinv worker "$CONFIG" --out "$OUT"
jinv merge "$OUT" # says what is missing where a worker was stopped or killed

# Replaces the mark if it is the expected one, under a lock. Argument: folder. Input: expected, then new, base64, empty for none.
mark=$1/mark
IFS= read -r expected && IFS= read -r new || exit 1
if [ ! -d "$1" ]; then mkdir -p -- "$1" && chmod 700 "$1" && sync "${1%/*}/." || exit; fi
exec 9>"$1/mark.lock" && flock -w 10 9 || exit
now=
if [ -f "$mark" ]; then now=$(base64 -w0 <"$mark") || exit; fi
if [ "$now" != "$expected" ]; then
  echo fenced
  [ -z "$now" ] || cat "$mark"
  exit 0
fi
if [ -n "$new" ]; then
  printf '%s' "$new" | base64 -d >"$mark.new" && sync "$mark.new" && mv -fT "$mark.new" "$mark" || exit
else
  rm -f "$mark" || exit
fi
sync "$1" && echo replaced

# Archives paths, relative to the root directory, with numeric owners; missing ones are passed over.
for p in "$@"; do
  shift
  if [ -e "$p" ] || [ -L "$p" ]; then set -- "$@" "${p#/}"; fi
done
label=
if [ -e /sys/fs/selinux/enforce ]; then label=--selinux; fi
if [ $# -eq 0 ]; then exec tar -c -f - -T /dev/null; fi
exec tar -C / --numeric-owner $label -c -f - -- "$@"

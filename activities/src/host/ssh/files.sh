# Lists files and what is below directories, NUL-separated: kind mode uid gid size, path, link target; then hashes.
for r in "$@"; do
  shift
  if [ -e "$r" ] || [ -L "$r" ]; then set -- "$@" "$r"; fi
done
[ $# -gt 0 ] || exit 0
find "$@" -printf '%y %m %U %G %s\0%p\0%l\0' || exit
printf 'hashes\0'
find "$@" -type f -exec sha256sum -z -- {} +

# Carries a list of changes out, in order, if the mark allows it. Arguments: nonce, path of the mark. Input: the list.
n=$1 mark=$2
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C
export PATH LC_ALL
umask 077
say() { printf '%s %s\n' "$n" "$*"; }
there() { [ -e "$1" ] || [ -L "$1" ]; }
beside() { printf '%s/.%s.k0rotate' "${1%/*}" "${1##*/}"; }
# The directory that a path is in; with the dot it is a name that can be opened, for / too.
above() { printf '%s/.' "${1%/*}"; }

# The unit is listed before it looks at the mark, and the mark is raised before units are listed: so a late one
# is seen there or refuses itself here. Said in words, since a condition of systemd looks like a command that failed.
fence() {
  IFS= read -r execution && IFS= read -r incarnation && IFS= read -r number || return 1
  e= i= f=
  [ -f "$mark" ] || return 1
  while IFS= read -r line; do
    case $line in
    execution=*) e=${line#*=} ;;
    incarnation=*) i=${line#*=} ;;
    fence=*) f=${line#*=} ;;
    esac
  done <"$mark"
  case $f in '' | *[!0-9]*) return 1 ;; esac
  [ "$e" = "$execution" ] && [ "$i" = "$incarnation" ] && [ "$f" -le "$number" ]
}

parents() {
  p=${1%/*}
  [ -d "${p:-/}" ] && return
  mkdir -p -- "$p" || return
  while [ -n "$p" ]; do p=${p%/*}; sync "$p/." || return; done
}

# A replaced file keeps its SELinux label; a new one has that of its directory.
label() { [ ! -e /sys/fs/selinux/enforce ] || [ ! -f "$1" ] || chcon --reference="$1" "$2"; }

write() {
  parents "$1" || return
  t=$(beside "$1")
  rm -rf -- "$t" && printf '%s' "$4" | base64 -d >"$t" && chown "$3" "$t" && chmod "$2" "$t" && label "$1" "$t" &&
    sync "$t" && mv -fT -- "$t" "$1" && sync "$(above "$1")"
}

rename() {
  if there "$1"; then
    parents "$2" || return
    # mv would copy.
    devices=$(stat -c %d -- "${1%/*}/." "${2%/*}/.") || return
    if [ "${devices%%
*}" != "${devices##*
}" ]; then
      echo 'Invalid cross-device link' >&2
      return 1
    fi
    mv -fT -- "$1" "$2" || return
  elif ! there "$2"; then
    echo 'No such file or directory' >&2
    return 1
  fi
  # Also where the rename was done earlier: it may not have reached the disk.
  if [ -d "${1%/*}/." ]; then sync "${1%/*}/." "${2%/*}/."; else sync "${2%/*}/."; fi
}

copy() {
  parents "$2" || return
  t=$(beside "$2")
  rm -rf -- "$t" && cp -a -- "$1" "$t" && find "$t" \( -type f -o -type d \) -exec sync {} + || return
  # A directory can't be replaced in one step.
  if [ -d "$2" ] && [ ! -L "$2" ]; then rm -rf -- "$t-old" && mv -T -- "$2" "$t-old" || return; fi
  mv -fT -- "$t" "$2" && rm -rf -- "$t-old" && sync "$(above "$2")"
}

make_dir() {
  parents "$1" || return
  [ -d "$1" ] || mkdir -- "$1" || return
  chmod "$2" "$1" && sync "$1" && sync "$(above "$1")"
}

# With what a torn write left beside it.
remove() {
  rm -rf --one-file-system -- "$1" "$(beside "$1")" && ! there "$1" || return
  p=$(above "$1")
  [ ! -d "$p" ] || sync "$p"
}

# Arguments: pid, start, signal, executable. Gone, or another process by now: nothing to do.
signal() {
  stat=$(cat "/proc/$1/stat" 2>/dev/null) || return 0
  exe=$(readlink "/proc/$1/exe") || return 0
  [ "$exe" = "$4" ] || return 0
  pid=$1 start=$2 number=$3
  set -- ${stat##*) }
  [ "${20}" = "$start" ] || return 0
  kill -s "$number" "$pid" 2>/dev/null || [ ! -e "/proc/$pid" ]
}

# Reads a program and runs it. An argument is a line, or in base64 if it has several.
run() {
  IFS= read -r seconds && IFS= read -r input && IFS= read -r count || return
  set --
  while [ "$count" -gt 0 ]; do
    IFS= read -r a || return
    case $a in
    =*) a=${a#=} ;;
    *) a=$(printf '%s' "${a#:}" | base64 -d && echo .) && a=${a%.} || return ;;
    esac
    set -- "$@" "$a"
    count=$((count - 1))
  done
  say "run $at"
  if [ -n "$input" ]; then
    printf '%s' "$input" | base64 -d | timeout -k 5 "$seconds" "$@"
  else
    timeout -k 5 "$seconds" "$@" </dev/null
  fi
  status=$?
  printf '\n'
  say "ran $at $status"
  [ "$status" = 0 ] || exit 0
}

if ! fence; then say fenced; exit 0; fi
at=0
while IFS= read -r kind; do
  [ "$kind" = end ] && { say done; exit 0; }
  printf '%s at %s\n' "$n" "$at" >&2
  case $kind in
  write) IFS= read -r a && IFS= read -r b && IFS= read -r c && IFS= read -r d && write "$a" "$b" "$c" "$d" ;;
  rename) IFS= read -r a && IFS= read -r b && rename "$a" "$b" ;;
  copy) IFS= read -r a && IFS= read -r b && copy "$a" "$b" ;;
  make-dir) IFS= read -r a && IFS= read -r b && make_dir "$a" "$b" ;;
  remove) IFS= read -r a && remove "$a" ;;
  signal) IFS= read -r a && IFS= read -r b && IFS= read -r c && IFS= read -r d && signal "$a" "$b" "$c" "$d" ;;
  run) run ;;
  *) false ;;
  esac || { say "failed $at"; exit 0; }
  at=$((at + 1))
done
say torn

# Runs a program with a limit between two lines of its own: noise of a login shell stands before the first,
# and without the last one the link was lost. Arguments: nonce, seconds, program and its arguments.
n=$1 s=$2
shift 2
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C
export PATH LC_ALL
umask 077
printf '%s begin\n' "$n"
printf '%s begin\n' "$n" >&2
timeout -k 5 "$s" "$@"
printf '\n%s end %s\n' "$n" "$?"

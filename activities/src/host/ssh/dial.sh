# Joins its input and output to a TCP port. Arguments: nonce, host, port. First line: the nonce and `open` or `closed`.
PATH=/usr/local/bin:/usr/bin:/bin:$PATH LC_ALL=C
export PATH LC_ALL
exec bash -c '
exec 3<>"/dev/tcp/$2/$3" || { echo "$1 closed"; exit; }
echo "$1 open"
# Where the port closes, all ends, so that nobody else holds the output open.
{ cat <&3; kill $$; } 2>/dev/null &
exec >/dev/null
cat >&3
kill $! 2>/dev/null
' dial "$1" "$2" "$3"

# Prints `there` and the file, or `none`. Argument: path. It is opened first: who holds it may take it away while it is being read.
{ echo there && exec cat <&3; } 3<"$1" || { [ ! -e "$1" ] || exit; echo none; }

# Prints `there` and the file, or `none`. Argument: path.
if [ -e "$1" ]; then echo there && exec cat -- "$1"; fi
echo none

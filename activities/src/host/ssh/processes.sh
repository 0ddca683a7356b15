# Prints pid, start, comm, exe (NUL-separated) of every process with k0s' marker and of the main processes of its units.
pids=$(grep -lszx '_K0S_MANAGED=yes' /proc/[0-9]*/environ)
mains=$(systemctl show -p MainPID --value k0scontroller.service k0sworker.service k0sserver.service 2>/dev/null)
seen=' '
for p in $pids $mains; do
  p=${p#/proc/}
  p=${p%/environ}
  case $seen in *" $p "*) continue ;; esac
  seen="$seen$p "
  [ "$p" != 0 ] && stat=$(cat "/proc/$p/stat" 2>/dev/null) && comm=$(cat "/proc/$p/comm" 2>/dev/null) || continue
  # The name in parentheses may hold anything; what follows the last one is fields 3 and up.
  set -- ${stat##*) }
  case $1 in Z | X) continue ;; esac
  printf '%s\0%s\0%s\0%s\0' "$p" "${20}" "$comm" "$(readlink "/proc/$p/exe")"
done

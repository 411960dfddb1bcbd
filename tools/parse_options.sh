# shellcheck shell=bash
# Options of a script, read from its own header comment. Sourced by the script, after its defaults:
#
#   stage=1                                  # the default of --stage; dashes in names are underscores here
#   source tools/parse_options.sh "$@"
#
# The header comment is the one list of options: an option is a line `#   --name METAVAR  what it does`.
# A METAVAR written `a|b|c` allows only those values. An option whose default is a number takes a number, a whole
# one where the default has no point. An option without a METAVAR is a switch. `--help` prints the header.

options_script=$0
declare -A option_defaults=() # of those that are given, since a value that is given takes the place of its default

option_lines() { sed -n '2,/^[^#]/s/^#   \(--[a-z].*\)/\1/p' "$options_script"; }

option_fail() {
  echo "$(basename "$options_script"): $1 (--help lists the options)" >&2
  exit 2
}

# The known option nearest to $1 by edit distance, or nothing when none is near.
nearest_option() {
  option_lines | awk -v typed="$1" '
    function distance(a, b,    i, j, cost, d) {
      for (i = 0; i <= length(a); i++) d[i, 0] = i
      for (j = 0; j <= length(b); j++) d[0, j] = j
      for (i = 1; i <= length(a); i++) for (j = 1; j <= length(b); j++) {
        cost = substr(a, i, 1) != substr(b, j, 1)
        d[i, j] = d[i - 1, j - 1] + cost
        if (d[i - 1, j] + 1 < d[i, j]) d[i, j] = d[i - 1, j] + 1
        if (d[i, j - 1] + 1 < d[i, j]) d[i, j] = d[i, j - 1] + 1
      }
      return d[length(a), length(b)]
    }
    { near = distance(typed, $1); if (best == "" || near < least) { least = near; best = $1 } }
    END { if (best != "" && least <= 3) print best }'
}

while [ $# -gt 0 ]; do
  if [ "$1" = --help ] || [ "$1" = -h ]; then
    sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$options_script"
    exit 0
  fi
  case $1 in --*) ;; *) option_fail "unexpected argument '$1'" ;; esac
  option_name=${1%%=*}
  option_line=$(option_lines | awk -v name="$option_name" '$1 == name')
  if [ -z "$option_line" ]; then
    option_hint=$(nearest_option "$option_name")
    option_fail "unknown option $option_name${option_hint:+; did you mean $option_hint?}"
  fi
  option_variable=$(echo "${option_name#--}" | tr - _)
  option_metavar=$(echo "$option_line" | sed -n 's/^--[a-z0-9-]* \([^ ].*\)/\1/p' | awk '{ print $1 }')
  if [ -z "$option_metavar" ]; then
    [ "$1" = "$option_name" ] || option_fail "$option_name is a switch and takes no value"
    printf -v "$option_variable" true
    shift
    continue
  fi
  if [ "$1" != "$option_name" ]; then
    option_value=${1#*=}
  else
    [ $# -ge 2 ] || option_fail "$option_name needs a value"
    case $2 in --*) option_fail "$option_name needs a value, not $2" ;; esac
    option_value=$2
    shift
  fi
  case $option_metavar in
    *\|*) case "|$option_metavar|" in *"|$option_value|"*) ;;
      *) option_fail "$option_name takes one of ${option_metavar//|/, }, not '$option_value'" ;; esac ;;
  esac
  : "${option_defaults[$option_variable]=${!option_variable}}"
  option_default=${option_defaults[$option_variable]}
  if [[ $option_default =~ ^[0-9]+$ ]] && ! [[ $option_value =~ ^[0-9]+$ ]]; then
    option_fail "$option_name takes a whole number, not '$option_value'"
  elif [[ $option_default =~ ^[0-9.]+$ ]] && ! [[ $option_value =~ ^[0-9]*\.?[0-9]+$ ]]; then
    option_fail "$option_name takes a number, not '$option_value'"
  fi
  printf -v "$option_variable" %s "$option_value"
  shift
done

"""What ``python -m broker completion SHELL`` prints: completion of ``python -m broker|worker|dispatcher`` and of
``glassrabbit``.

Each script asks the interpreter (or the ``glassrabbit``) that stands on the command line, and leaves every other
use of ``python`` to the completion that the shell had before.
"""

from __future__ import annotations

BASH = r"""# Completion of glassrabbit, and of python -m broker, worker and dispatcher, for bash.
_glassrabbit() {
    local at word=${COMP_WORDS[COMP_CWORD]} module= kind value what
    local ask=("${COMP_WORDS[0]/#\~/$HOME}")
    COMPREPLY=()
    for ((at = 1; at + 1 < COMP_CWORD; at++)); do
        if [[ ${COMP_WORDS[at]} == -m ]]; then
            module=${COMP_WORDS[at + 1]}
            break
        fi
    done
    case ${ask##*/}:$module in
        glassrabbit:*) at=-1 ask+=(broker.completion) ;;
        *:broker | *:worker | *:dispatcher) ask+=(-m "$module.completion") ;;
        *)
            [[ -z ${_glassrabbit_before-} ]] || "$_glassrabbit_before" "$@"
            return
            ;;
    esac
    while IFS=$'\t' read -r kind value what; do
        case $kind in
            plain) COMPREPLY+=("$value") ;;
            *)
                compopt -o filenames 2>/dev/null
                while read -r value; do COMPREPLY+=("$value"); done < <(compgen -f -- "$word")
                ;;
        esac
    done < <("${ask[@]}" "$word" "${COMP_WORDS[@]:at + 2:COMP_CWORD - at - 2}" 2>/dev/null)
}

# Completion of Python itself: what is there already, or what bash-completion loads when it is first asked.
if ! complete -p python >/dev/null 2>&1; then
    if declare -F _comp_load >/dev/null; then
        _comp_load python
    elif declare -F _completion_loader >/dev/null; then
        _completion_loader python
    fi
fi
if [[ $(complete -p python 2>/dev/null) =~ -F\ ([^ ]+) && ${BASH_REMATCH[1]} != _glassrabbit ]]; then
    _glassrabbit_before=${BASH_REMATCH[1]}
fi
complete -o bashdefault -o default -F _glassrabbit glassrabbit python python3 \
    python3.11 python3.12 python3.13 python3.14
"""

ZSH = r"""# Completion of glassrabbit, and of python -m broker, worker and dispatcher, for zsh, after compinit.
_glassrabbit() {
    local at=${words[(i)-m]} kind value what
    local module=${words[at + 1]}
    local -a found ask
    ask=("${words[1]/#\~/$HOME}" -m "$module.completion")
    if [[ ${words[1]:t} == glassrabbit ]]; then
        at=0 module=glassrabbit ask[2,-1]=(broker.completion)
    elif (( at + 1 >= CURRENT )) || [[ $module != (broker|worker|dispatcher) ]]; then
        if (( $+functions[_python] )); then _python "$@"; else _default; fi
        return
    fi
    while IFS=$'\t' read -r kind value what; do
        if [[ $kind == plain ]]; then
            found+=("${value//:/\\:}${what:+:$what}")
        else
            _files
        fi
    done < <("${ask[@]}" "${words[CURRENT]}" "${(@)words[at + 2,CURRENT - 1]}" 2>/dev/null)
    (( $#found )) && _describe -V "$module" found
}
compdef _glassrabbit glassrabbit python python3 python3.11 python3.12 python3.13 python3.14
"""

FISH = r"""# Completion of glassrabbit, and of python -m broker, worker and dispatcher, for fish.
function __glassrabbit_module
    set -l words (commandline -opc)
    string match -qr '(^|/)glassrabbit$' -- $words[1]; and echo glassrabbit; and return
    set -l at (contains -i -- -m $words); or return 1
    set -l module $words[(math $at + 1)]
    contains -- "$module" broker worker dispatcher; and echo $module
end

function __glassrabbit_offers
    set -l words (commandline -opc)
    set -l word (commandline -ct)
    set -l module (__glassrabbit_module)
    set -l ask broker.completion
    set -l from 2
    if test $module != glassrabbit
        set ask -m $module.completion
        set from (math (contains -i -- -m $words) + 2)
    end
    set -l before
    test $from -le (count $words); and set before $words[$from..-1]
    for line in (command $words[1] $ask "$word" $before 2>/dev/null)
        set -l offer (string split \t -- $line)
        if test $offer[1] = plain
            printf '%s\t%s\n' $offer[2] $offer[3]
        else
            for path in $word*
                test -d $path; and echo $path/; or echo $path
            end
        end
    end
end

for name in glassrabbit python python3 python3.11 python3.12 python3.13 python3.14
    complete -c $name -n __glassrabbit_module -f -k -a '(__glassrabbit_offers)'
end
"""

SCRIPTS = {"bash": BASH, "zsh": ZSH, "fish": FISH}

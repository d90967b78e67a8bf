"""The shell completes verbs, options, presets and fields."""

import subprocess

import pytest

from sagan import cli


@pytest.mark.parametrize(
    ("typed", "found"),
    [("sagan tr", "train"), ("sagan train dig", "digits"), 
     ("sagan train train.ste", "train.steps="), ("sagan eval --num-im", "--num-images")],
)  # fmt: skip
def test_bash_completes_words(typed, found, capsys, tmp_path):
    assert cli.main(["completion", "bash"]) == 0
    words = typed.split()
    code = (
        f"\nCOMP_WORDS=({typed}); COMP_CWORD={len(words) - 1}; COMP_LINE='{typed}'\n"
        f"function=$(complete -p sagan | sed 's/.*-F \\([^ ]*\\) .*/\\1/')\n"
        f"$function sagan {words[-1]} {words[-2]}; printf '%s\\n' \"${{COMPREPLY[@]}}\"\n"
    )
    script = tmp_path / "script"
    script.write_text(capsys.readouterr().out + code)
    done = subprocess.run(["bash", script], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0 and done.stderr == ""
    assert found in done.stdout.split()


def test_zsh_gets_a_script_too(capsys):
    assert cli.main(["completion", "zsh"]) == 0
    assert capsys.readouterr().out.startswith("#compdef sagan")

// SPDX-License-Identifier: GPL-2.0-or-later

package bash

import (
	"bufio"
	"io"
	"strings"

	"mvdan.cc/sh/v3/syntax"
)

// Interactive reads commands line by line until the end of r or exit, calling prompt before each line; more says
// that a command goes on. Commands share r with the shell: what they read from it is gone.
func (sh *Shell) Interactive(r io.Reader, prompt func(more bool)) int {
	in := bufio.NewReaderSize(oneByte{r}, 16)
	var text strings.Builder
	for sh.flow != flowExit {
		prompt(text.Len() > 0)
		line, err := in.ReadString('\n')
		text.WriteString(line)
		if err != nil && text.Len() == 0 {
			break
		}
		f, perr := syntax.NewParser(syntax.Variant(syntax.LangBash)).Parse(strings.NewReader(text.String()), "ktest")
		if perr != nil && err == nil && syntax.IsIncomplete(perr) {
			continue
		}
		text.Reset()
		if perr != nil {
			sh.Errorf("%v", perr)
			sh.status = 2
		} else {
			sh.topLevel(f.Stmts, 0)
		}
		if err != nil {
			break
		}
	}
	return sh.finish()
}

// oneByte never reads ahead, so that commands find the rest of the input.
type oneByte struct{ r io.Reader }

func (o oneByte) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	return o.r.Read(p[:1])
}

// SPDX-License-Identifier: GPL-2.0-or-later

package printtree

import "time"

var oldTime = time.Unix(-86400*365, 123456789)

// SPDX-License-Identifier: GPL-2.0-or-later

package vfs

type nameidata struct{}

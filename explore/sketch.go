// SPDX-License-Identifier: GPL-2.0-or-later

package explore

import (
	"encoding/base64"
	"fmt"
	"math"
	"math/bits"
)

// Sketch estimates how many different numbers it has seen, within about two
// percent, in 4 KiB whatever the number (HyperLogLog): by the longest row of
// zeros that hashes begin with, in each of many parts of the hash space.
// Sketches of different sets can be merged.
type Sketch [1 << sketchBits]uint8

const sketchBits = 12

// Add enters a number, which must be a good hash.
func (s *Sketch) Add(h uint64) {
	i := h >> (64 - sketchBits)
	s[i] = max(s[i], uint8(bits.LeadingZeros64(h<<sketchBits|1))+1)
}

// Merge enters what another one has seen.
func (s *Sketch) Merge(o *Sketch) {
	for i := range s {
		s[i] = max(s[i], o[i])
	}
}

// Count is the estimate.
func (s *Sketch) Count() int64 {
	const m = float64(len(s))
	sum, zeros := 0.0, 0
	for _, r := range s {
		sum += math.Ldexp(1, -int(r))
		if r == 0 {
			zeros++
		}
	}
	n := 0.7213 / (1 + 1.079/m) * m * m / sum
	if n < 2.5*m && zeros > 0 {
		n = m * math.Log(m/float64(zeros))
	}
	return int64(math.Round(n))
}

// MarshalText is base64.
func (s Sketch) MarshalText() ([]byte, error) {
	return []byte(base64.RawStdEncoding.EncodeToString(s[:])), nil
}

// UnmarshalText reads that.
func (s *Sketch) UnmarshalText(text []byte) error {
	b, err := base64.RawStdEncoding.DecodeString(string(text))
	if err != nil || len(b) != len(s) {
		return fmt.Errorf("not a sketch of partial orders")
	}
	copy(s[:], b)
	return nil
}

package config

import "ferry/privacy"

// checkMask checks names of members, or JSON pointers, that are masked.
func (d *decoder) checkMask(path string, names []string) {
	if _, err := privacy.NewFieldMask(names); err != nil {
		message, hint := sentence(err)
		d.at(path, hint, "%s: %s", path, message)
	}
}

package config

import (
	"fmt"
	"net/url"
)

// CORS is which pages of other origins may call from a browser; none by default.
type CORS struct {
	Origins []string `yaml:"origins"` // such as https://portal.example, at most 50
}

const maxOrigins = 50

func (c *CORS) check(d *decoder) {
	if len(c.Origins) > maxOrigins {
		d.at("cors.origins", "", "cors.origins has %d entries, %d at most", len(c.Origins), maxOrigins)
	}
	for i, origin := range c.Origins {
		path := fmt.Sprintf("cors.origins[%d]", i)
		if origin == "*" {
			d.at(path, "list each origin: a page of any site could use a key that its user has", "%s: * is not taken", path)
			continue
		}
		u, err := url.Parse(origin)
		if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.Scheme+"://"+u.Host != origin {
			d.at(path, "write scheme, host and port as browsers do: https://portal.example", "%s: %q is not an origin", path, clip(origin))
		}
	}
}

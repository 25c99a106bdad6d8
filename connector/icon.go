package connector

import (
	"bytes"
	"image"
	"image/color"
	"image/png"
)

// iconSize is the side of the icon, pixels; Power Platform wants 100 to 230.
const iconSize = 230

// icon draws the icon: a ferry on the water, on the colour of the brand.
func icon() []byte {
	brand := color.NRGBA{0x0b, 0x4f, 0x6c, 0xff}
	white := color.NRGBA{0xff, 0xff, 0xff, 0xff}
	sea := color.NRGBA{0x7f, 0xc8, 0xd8, 0xff}
	m := image.NewNRGBA(image.Rect(0, 0, iconSize, iconSize))
	for y := range iconSize {
		for x := range iconSize {
			m.SetNRGBA(x, y, brand)
		}
	}
	box := func(x0, y0, x1, y1 int, c color.NRGBA) {
		for y := y0; y < y1; y++ {
			for x := x0; x < x1; x++ {
				m.SetNRGBA(x, y, c)
			}
		}
	}
	// The hull gets narrower towards its keel.
	for y := 118; y < 158; y++ {
		box(32+(y-118)/2, y, 198-(y-118), y+1, white)
	}
	box(62, 88, 168, 112, white) // the deck
	for x := 72; x < 160; x += 20 {
		box(x, 94, x+10, 106, brand) // its windows
	}
	box(84, 66, 134, 84, white) // the bridge
	box(144, 58, 156, 84, white)
	box(144, 58, 156, 64, sea) // the funnel
	// Waves: half circles, side by side.
	for _, row := range []int{176, 196} {
		for x := 24; x < 206; x++ {
			d := (x-24+row/2)%26 - 13
			top := row + d*d/17
			box(x, top, x+1, top+7, sea)
		}
	}
	var b bytes.Buffer
	_ = png.Encode(&b, m) // a buffer takes everything
	return b.Bytes()
}

package profiles

import (
	"reflect"
	"testing"
)

// TestGateOfTwo merges what two files say, in both orders: the strictest wins.
func TestGateOfTwo(t *testing.T) {
	gate := func(change func(*Gate)) Gate {
		g := Gate{Units: []string{"a.service"}, Except: []string{}, Recheck: RecheckStart, Harden: true, Breach: BreachStop, OnRefuse: OnRefuseBlock}
		change(&g)
		return g
	}
	for name, c := range map[string]struct {
		a, b string
		want func(*Gate)
	}{
		"nothing said":            {"", "", func(*Gate) {}},
		"harden false, not said":  {"harden = false", "", func(g *Gate) { g.Harden = false }},
		"harden true and false":   {"harden = false", "harden = true", func(*Gate) {}},
		"breach stop, report":     {`breach = "stop"`, `breach = "report"`, func(*Gate) {}},
		"breach report, ignore":   {`breach = "report"`, `breach = "ignore"`, func(g *Gate) { g.Breach = BreachReport }},
		"breach ignore, not said": {`breach = "ignore"`, "", func(g *Gate) { g.Breach = BreachIgnore }},
		"reboot and block":        {`on_refuse = "reboot"`, `on_refuse = "block"`, func(g *Gate) { g.OnRefuse = OnRefuseReboot }},
		"reboot and poweroff":     {`on_refuse = "reboot"`, `on_refuse = "poweroff"`, func(g *Gate) { g.OnRefuse = OnRefusePowerOff }},
		"assessment once":         {"boot_assessment = true", "boot_assessment = false", func(g *Gate) { g.BootAssessment = true }},
		"override once":           {"override = true", "", func(g *Gate) { g.Override = true }},
		"override forbidden":      {"override = true", "override = false", func(*Gate) {}},
	} {
		t.Run(name, func(t *testing.T) {
			const units = "[gate]\nunits = [\"a.service\"]\n"
			for _, pair := range [][2]string{{c.a, c.b}, {c.b, c.a}} {
				got := loadWith(t, units+pair[0], units+pair[1]).Gate
				if want := gate(c.want); !reflect.DeepEqual(got, want) {
					t.Errorf("%q below %q gives %+v, want %+v", pair[0], pair[1], got, want)
				}
			}
		})
	}
}

//! Tests of the steps that viewers' actions require.

use super::Action;
use super::hands::{Hands, InputStep, Plan};
use super::keymap::Keymap;
use crate::domain::rfb::Key;

const SHIFT: u32 = 0xffe1;
const CONTROL: u32 = 0xffe3;
const ALTGR: u32 = 0xfe03;

fn key(down: bool, keysym: u32) -> Action {
    Action::Key { down, key: Key { keysym, scancode: None } }
}

/// A keyboard with the letters a and c, 1, the 7 of the keypad, modifiers, and two spare keys.
fn hands() -> Hands {
    let mut keysyms = vec![0; 248 * 2];
    for (keycode, pair) in [
        (38, [0x61, 0x41]),
        (54, [0x63, 0x43]),
        (10, [0x31, 0x21]),
        (79, [0xff95, 0xffb7]),
        (50, [SHIFT, 0]),
        (37, [CONTROL, 0]),
        (113, [0xff51, 0]),
        (66, [0xffe5, 0]),
    ] {
        keysyms[(keycode - 8) * 2..][..2].copy_from_slice(&pair);
    }
    Hands::new(Keymap::read(8, 2, &keysyms))
}

/// The steps for `actions`, and the signs that spare keys are assigned.
fn steps(hands: &mut Hands, actions: &[(u64, Action)]) -> (Vec<InputStep>, Vec<(u8, u32)>) {
    let (mut steps, mut given) = (Vec::new(), Vec::new());
    let mut rest = actions;
    while !rest.is_empty() {
        let Plan { count, assigned } = hands.plan(rest);
        given.extend(assigned);
        assert!(count > 0);
        for (viewer, action) in &rest[..count] {
            steps.extend(hands.act(*viewer, *action));
        }
        rest = &rest[count..];
    }
    (steps, given)
}

#[track_caller]
fn pressed(actions: &[Action], expected: &[(u8, bool)]) {
    let actions: Vec<_> = actions.iter().map(|action| (1, *action)).collect();
    let expected: Vec<_> = expected.iter().map(|(key, down)| InputStep::Key(*key, *down)).collect();
    assert_eq!(steps(&mut hands(), &actions).0, expected);
}

#[test]
fn shift_is_as_the_sign_needs_it() {
    pressed(&[key(true, 0x61), key(false, 0x61)], &[(38, true), (38, false)]);
    pressed(
        &[key(true, 0x41), key(false, 0x41)],
        &[(50, true), (38, true), (50, false), (38, false)],
    );
    pressed(&[key(true, SHIFT), key(true, 0x41)], &[(50, true), (38, true)]);
    // Caps Lock is on, and Shift is down.
    pressed(
        &[key(true, SHIFT), key(true, 0x61)],
        &[(50, true), (50, false), (38, true), (50, true)],
    );
    // Arrow keys with Shift select text.
    pressed(&[key(true, SHIFT), key(true, 0xff51)], &[(50, true), (113, true)]);
    // Keys that only change the viewer's own signs are ignored.
    pressed(&[key(true, 0xffe5), key(true, ALTGR), key(true, 0x61)], &[(38, true)]);
}

#[test]
fn a_key_that_is_held_repeats_and_a_modifier_does_not() {
    pressed(
        &[key(true, 0x61), key(true, 0x61), key(false, 0x61), key(false, 0x61)],
        &[(38, true), (38, false), (38, true), (38, false)],
    );
    pressed(
        &[key(true, SHIFT), key(true, SHIFT), key(true, 0x41), key(true, 0x41)],
        &[(50, true), (38, true), (38, false), (38, true)],
    );
    // A held key that produces another sign than before.
    let place = |down, keysym| Action::Key { down, key: Key { keysym, scancode: Some(0x2d) } };
    pressed(
        &[place(true, 0x61), place(true, 0x63), place(false, 0x63), place(false, 0x61)],
        &[(38, true), (38, false), (54, true), (54, false)],
    );
    // The same key for another sign, while the first is held.
    pressed(
        &[key(true, 0x61), key(true, 0x41), key(false, 0x61), key(false, 0x41)],
        &[(38, true), (38, false), (50, true), (38, true), (50, false), (38, false)],
    );
}

#[test]
fn a_command_is_the_key_where_its_letter_stands() {
    for letter in [0x63, 0x43, 0x0100_0063, 0x6d3, 0x0100_0441, 0x0100_03c8, 0x0100_314a] {
        let (steps, given) = steps(
            &mut hands(),
            &[(1, key(true, CONTROL)), (1, key(true, letter)), (1, key(false, letter))],
        );
        let expected =
            [(37, true), (54, true), (54, false)].map(|(it, down)| InputStep::Key(it, down));
        assert_eq!(steps, expected, "{letter:x}");
        assert_eq!(given, [], "{letter:x}");
    }
    pressed(
        &[key(true, CONTROL), key(true, 0x21)],
        &[(37, true), (50, true), (10, true), (50, false)],
    );
}

#[test]
fn every_other_sign_is_given_a_key_before_it_is_pressed() {
    let mut hands = hands();
    let (first, given) = steps(&mut hands, &[(1, key(true, 0x6ca)), (1, key(false, 0x0100_0439))]);
    assert_eq!(given, [(138, 0x0100_0439)]);
    assert_eq!(first, [InputStep::Key(138, true), InputStep::Key(138, false)]);
    let (_, given) = steps(&mut hands, &[(1, key(true, 0x6ca))]);
    assert_eq!(given, [], "it has one");
    // More signs than keys, each released: they take several plans.
    let signs = (0x0100_4e00..).take(100);
    let all: Vec<_> =
        signs.clone().flat_map(|it| [(1, key(true, it)), (1, key(false, it))]).collect();
    let (pressed, given) = steps(&mut hands, &all);
    let order: Vec<u32> = given.iter().map(|(_, keysym)| *keysym).collect();
    assert_eq!(order, signs.collect::<Vec<_>>());
    assert_eq!(pressed.len(), 200);
    // The key that is held keeps its sign.
    assert!(given.iter().all(|(keycode, _)| *keycode != 138));
}

#[test]
fn what_is_no_sign_is_given_no_key() {
    // Terminate_Server, Pointer_Left, a console switch, and invalid keysyms.
    for keysym in [0xfed5, 0xfee0, 0x1008_fe01, 0xffff_ffff, 0x0100_0001, 0] {
        let (steps, given) = steps(&mut hands(), &[(1, key(true, keysym))]);
        assert_eq!((steps, given), (Vec::new(), Vec::new()), "{keysym:x}");
    }
}

#[test]
fn digits_of_the_keypad_are_digits_whatever_shift_is() {
    let seven = [(1, key(true, 0xffb7)), (1, key(true, 0xff95))];
    let locks = |hands: &mut Hands| {
        let (steps, _) = steps(hands, &seven);
        let is_lock = |step: &InputStep| matches!(step, InputStep::NumLock(_));
        steps.into_iter().filter(is_lock).collect::<Vec<_>>()
    };
    assert_eq!(locks(&mut hands()), [InputStep::NumLock(true), InputStep::NumLock(false)]);
    let mut hands = hands();
    hands.act(1, key(true, SHIFT));
    assert_eq!(locks(&mut hands), [InputStep::NumLock(false), InputStep::NumLock(true)]);
}

#[test]
fn a_viewer_lets_go_of_its_own_and_of_nothing_else() {
    let mut hands = hands();
    let pointer = |buttons| Action::Pointer { buttons, x: 3, y: 4 };
    let (first, _) = steps(
        &mut hands,
        &[
            (1, key(true, SHIFT)),
            (1, key(true, 0x41)),
            (2, key(true, 0x61)),
            (1, pointer(0b101)),
            (2, pointer(0b001)),
        ],
    );
    let moved = InputStep::Move(3, 4);
    assert_eq!(
        first[first.len() - 4..],
        [moved, InputStep::Button(1, true), InputStep::Button(3, true), moved]
    );
    assert_eq!(
        hands.act(1, Action::Leave),
        [InputStep::Key(50, false), InputStep::Button(3, false)]
    );
    assert_eq!(
        hands.act(2, Action::Leave),
        [InputStep::Key(38, false), InputStep::Button(1, false)]
    );
    assert_eq!(hands.act(2, Action::Leave), []);
    assert_eq!(hands.act(2, key(false, 0x61)), [], "nothing is let go that was not pressed");
    // Pressed as `A` and released as `a`.
    hands.act(1, key(true, 0x41));
    assert_eq!(hands.act(1, key(false, 0x61)), [InputStep::Key(38, false)]);
}

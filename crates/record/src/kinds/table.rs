//! The macros in which kinds are written down.

/// An object with a fixed set of members: the struct, its `new` with all that is required, and its
/// table for the parser and the schema.
macro_rules! object {
    (
        $(#[doc = $doc:literal])*
        $name:ident
        required { $($(#[doc = $rdoc:literal])* $r:ident: $rt:ty = $rs:expr,)* }
        optional { $($(#[doc = $odoc:literal])* $o:ident: $ot:ty = $os:expr,)* }
    ) => {
        $(#[doc = $doc])*
        #[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
        #[serde(deny_unknown_fields)]
        pub struct $name {
            $($(#[doc = $rdoc])* pub $r: $rt,)*
            $(
                $(#[doc = $odoc])*
                #[serde(default, skip_serializing_if = "Option::is_none")]
                pub $o: Option<$ot>,
            )*
        }

        impl $name {
            /// With what is required; the rest is `None`.
            pub fn new($($r: $rt),*) -> Self {
                Self { $($r,)* $($o: None,)* }
            }

            pub(crate) const MEMBERS: &'static [$crate::shape::Member] = &$crate::shape::sorted([
                $($crate::shape::Member {
                    name: stringify!($r),
                    required: true,
                    shape: $rs,
                    doc: concat!($($rdoc),*),
                },)*
                $($crate::shape::Member {
                    name: stringify!($o),
                    required: false,
                    shape: $os,
                    doc: concat!($($odoc),*),
                },)*
            ]);
        }

        $crate::kinds::table::default_if_nothing_required!($name $($r)*);
    };
}
pub(crate) use object;

macro_rules! default_if_nothing_required {
    ($name:ident) => {
        impl Default for $name {
            fn default() -> Self {
                Self::new()
            }
        }
    };
    ($name:ident $($r:ident)+) => {};
}
pub(crate) use default_if_nothing_required;

/// A kind of record: an object that is a body, and the fields that are sealed.
macro_rules! body {
    (
        $(#[doc = $doc:literal])*
        $name:ident
        required { $($required:tt)* }
        optional { $($optional:tt)* }
        sealed { $($field:literal: $must:ident),* $(,)? }
    ) => {
        $crate::kinds::table::object! {
            $(#[doc = $doc])*
            $name
            required { $($required)* }
            optional { $($optional)* }
        }

        impl $name {
            pub(crate) const SPEC: $crate::kinds::Spec = $crate::kinds::Spec {
                doc: concat!($($doc),*),
                members: Self::MEMBERS,
                sealed: &[$(($field, $crate::kinds::table::must!($must))),*],
                sealed_members: &[$($crate::shape::Member {
                    name: $field,
                    required: $crate::kinds::table::must!($must),
                    shape: $crate::shape::HASH,
                    doc: " A commitment.",
                }),*],
            };
        }

        impl $crate::kinds::Body for $name {
            const KIND: $crate::kinds::Kind = $crate::kinds::Kind::$name;
        }
    };
}
pub(crate) use body;

macro_rules! must {
    (required) => {
        true
    };
    (optional) => {
        false
    };
}
pub(crate) use must;

/// A choice among words.
macro_rules! words {
    (
        $(#[doc = $doc:literal])*
        $name:ident { $($(#[doc = $vdoc:literal])* $variant:ident = $word:literal,)* }
    ) => {
        $(#[doc = $doc])*
        #[derive(
            Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash,
            serde::Serialize, serde::Deserialize,
        )]
        pub enum $name {
            $($(#[doc = $vdoc])* #[serde(rename = $word)] $variant,)*
        }

        impl $name {
            pub(crate) const SHAPE: $crate::shape::Shape = $crate::shape::Shape::OneOf(&[$($word),*]);

            /// The word as it stands in the record.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)*
                }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.as_str())
            }
        }
    };
}
pub(crate) use words;

/// An annotation: a body with the members that all of them share.
macro_rules! annotation {
    (
        $(#[doc = $doc:literal])*
        $name:ident
        required { $($required:tt)* }
        optional { $($optional:tt)* }
        sealed { $($sealed:tt)* }
    ) => {
        $crate::kinds::table::body! {
            $(#[doc = $doc])*
            $name
            required { $($required)* }
            optional {
                $($optional)*
                /// The annotator's pseudonym.
                annotator: $crate::ids::Pseudonym = $crate::shape::Shape::Form($crate::shape::Form::Pseudonym),
                /// Who or what the annotator is. From version 2 on.
                annotator_type: $crate::kinds::AnnotatorType = $crate::kinds::AnnotatorType::SHAPE,
                /// When the annotator decided, where that is not when it was recorded.
                at: $crate::time::Timestamp = $crate::shape::Shape::Form($crate::shape::Form::Time),
                /// What was asked: helpfulness, harmlessness, ….
                criterion: String = $crate::shape::TEXT,
                /// How long the annotator took, in milliseconds.
                duration_ms: u64 = $crate::shape::COUNT,
                /// An opaque name of what was annotated, never derived from its content.
                item: String = $crate::shape::TEXT,
                /// The run, in records of the scope `ledger` that came after it was sealed.
                run: $crate::ids::RunId = $crate::shape::Shape::Form($crate::shape::Form::RunId),
                /// Where in a data set it was read.
                source: $crate::kinds::Source = $crate::shape::Shape::Object($crate::kinds::Source::MEMBERS),
            }
            sealed { $($sealed)* }
        }

        impl $name {
            /// The members of version 1.
            pub(crate) const MEMBERS_V1: [$crate::shape::Member; $name::MEMBERS.len() - 1] =
                $crate::shape::without(Self::MEMBERS, &["annotator_type"]);
            /// The table of version 1.
            pub(crate) const V1: $crate::kinds::Spec = $crate::kinds::Spec {
                members: &Self::MEMBERS_V1,
                ..Self::SPEC
            };
        }
    };
}
pub(crate) use annotation;

//! From detections to the message.

use crate::detection::Detection;
use r2r::{
    std_msgs::msg::Header,
    vision_msgs::msg::{Detection2D, Detection2DArray, ObjectHypothesisWithPose},
};

/// One array for one image: the image's header, untouched, in the array and in every detection; boxes in pixels of the
/// image; one hypothesis each, with the name of the class. Empty if nothing was seen.
///
/// `classes` are those of the network that made the detections.
pub(super) fn message(header: &Header, detections: &[Detection], classes: &[String]) -> Detection2DArray {
    let detections = detections.iter().map(|found| {
        let mut result = ObjectHypothesisWithPose::default();
        result.hypothesis.class_id.clone_from(&classes[found.class]);
        result.hypothesis.score = found.score.into();
        let mut detection = Detection2D { header: header.clone(), results: vec![result], ..Default::default() };
        detection.bbox.center.position.x = found.bbox.cx.into();
        detection.bbox.center.position.y = found.bbox.cy.into();
        detection.bbox.size_x = found.bbox.w.into();
        detection.bbox.size_y = found.bbox.h.into();
        detection
    });
    Detection2DArray { header: header.clone(), detections: detections.collect() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detection::BBox;
    use r2r::builtin_interfaces::msg::Time;

    fn header() -> Header {
        Header { stamp: Time { sec: -7, nanosec: 999_999_999 }, frame_id: "camera/left optical".into() }
    }

    #[test]
    fn a_detection_keeps_header_class_name_score_and_box() {
        let found = Detection { class: 1, score: 0.75, bbox: BBox { cx: 10.5, cy: 20.25, w: 3.0, h: 7.5 } };
        let array = message(&header(), &[found], &["car".into(), "pedestrian".into()]);
        assert_eq!(array.header, header());
        let [detection] = &array.detections[..] else { panic!("one detection") };
        assert_eq!(detection.header, header());
        let [result] = &detection.results[..] else { panic!("one result") };
        assert_eq!((result.hypothesis.class_id.as_str(), result.hypothesis.score), ("pedestrian", 0.75));
        let bbox = &detection.bbox;
        assert_eq!((bbox.center.position.x, bbox.center.position.y, bbox.center.theta), (10.5, 20.25, 0.0));
        assert_eq!((bbox.size_x, bbox.size_y), (3.0, 7.5));
    }

    #[test]
    fn nothing_seen_is_an_empty_array_with_the_header() {
        let array = message(&header(), &[], &["car".into()]);
        assert_eq!(array, Detection2DArray { header: header(), detections: vec![] });
    }
}
